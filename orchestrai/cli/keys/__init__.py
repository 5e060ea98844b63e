"""`orchestrai keys ...`: whose signatures count."""

"""Who calls a cloud by a connection: sessions, credentials and tokens, made from where the secrets lie."""

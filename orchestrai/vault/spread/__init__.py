"""The vault's bytes on executors: stored, read back and copied out there, so that the driver handles lists alone."""

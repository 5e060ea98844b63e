"""A person made unreadable: keys destroyed, dead letters cleaned, copies in clear named."""

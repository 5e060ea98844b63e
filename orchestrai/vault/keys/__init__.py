"""What seals a vault: data keys, and the services that wrap them."""

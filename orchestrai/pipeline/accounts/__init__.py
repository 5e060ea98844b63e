"""What an account is tried with: small things that are made, checked and removed by the adapters that the work uses."""

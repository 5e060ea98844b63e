"""The only rooms that know a cloud: how it is reached, what it stores, what its control plane can do, what its errors mean."""

"""Several processes as one: gathering, sharding, and how they are launched."""

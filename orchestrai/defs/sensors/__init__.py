"""What watches: landings, queues, streams, deployments, recalls, failed runs."""

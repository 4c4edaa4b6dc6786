"""What an experiment asks of a machine, forecast from its configuration and its model's shape alone."""

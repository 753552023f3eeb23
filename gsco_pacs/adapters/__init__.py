"""The outside world: database, queue, models, destinations. Only processes choose among them."""

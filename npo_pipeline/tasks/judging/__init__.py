"""Who says whether a response is right: extraction, scorers, and the worker processes that bound them."""

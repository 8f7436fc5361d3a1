"""The checks of the store contract, by subject. ``perdure.testing.store_suite`` gathers them."""

"""What holds for every test."""

from hypothesis import settings

# No deadline: how long one example takes says more about the machine than about Perdure.
settings.register_profile("perdure", deadline=None, print_blob=True)
settings.load_profile("perdure")

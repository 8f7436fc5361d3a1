"""Loads an app folder, in any of the supported programming models, or says everything that is wrong with it."""

from perdure.host.loading.load import load_app, loaded_from
from perdure.host.loading.problems import AppLoadError, Problem

__all__ = ["AppLoadError", "Problem", "load_app", "loaded_from"]

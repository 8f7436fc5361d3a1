"""Authoring: decorators and the registry of functions."""

from perdure.app.decorators import Blueprint, DFApp
from perdure.app.registry import FunctionDefinitionError

__all__ = ["Blueprint", "DFApp", "FunctionDefinitionError"]

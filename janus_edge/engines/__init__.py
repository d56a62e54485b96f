"""Targets, lowering passes and engine builders."""

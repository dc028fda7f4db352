"""Specification, plan, store and runner of a study; a step is known only as (kind, version, inputs, function)."""

"""Specification, plan, store and runner of a study; a cell is known only as (kind, version, inputs, function)."""

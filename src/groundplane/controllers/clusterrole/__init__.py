"""Gives roles with an aggregation rule (admin, edit, view) the rules of all roles that their labels select."""

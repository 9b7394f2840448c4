"""The command line: what a person types, and what a service manager starts.

A command reads options, calls one part, prints, and ends with an exit code. Logic that another tool would need too does
not belong here.
"""

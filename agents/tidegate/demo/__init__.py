"""The demo: twelve real servers, real requests, three releases or a flag, and what Tidegate does about them.

Nothing here is used by the product. The roles it runs are the ordinary ones, started by the ordinary commands.
"""

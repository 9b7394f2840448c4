"""Scraping services that have no SDK: config, one HTTP request, three formats, and a loop for each service.

What the numbers of two pages mean is decided in ``tidegate.scrape``; here they are only fetched and read.
"""

"""The vocabulary: what every process of Tidegate says to every other one.

Structs, closed enums, units, codecs, the topic table and the signed envelope live here. Nothing here computes a KPI, takes
a decision, knows the time or opens a socket; nothing here imports another part of Tidegate.
"""

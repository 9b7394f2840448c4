"""What Tidegate's files and messages look like, for editors, for tools of others and for people.

JSON Schemas of every file that a person writes, AsyncAPI of every topic, a page of every setting: all made of the structs that
decode the real thing, and of what their docstrings say. Nothing is decoded or decided here.
"""

"""Deletes what has lost its owners, in the background, in the foreground, or not at all (orphans).

graph   who owns whom, as the informers tell it; and what an object's owners make of it
loop    asks the graph, writes the answer
"""

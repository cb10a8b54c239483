"""The parts of the speed benchmark; ``tests/benchmarks/speed.py`` puts them together.

case      the forum's case on disk, and its parts
jobs      what is timed, and what each may take
stream    the yardstick: one read of the matrix
rounds    our jobs, alternating, in this process
fresh     one job in a process of its own: its memory, and whether 1 GB is enough
memory    how far anonymous memory rises
scaling   time per cell at a quarter, a half and all of the rows and of the classes
peers     the same jobs by other libraries
machine   where all this ran
record    what was measured, as it is written to JSON
report    the same as Markdown
progress  a line on stderr now and then
"""

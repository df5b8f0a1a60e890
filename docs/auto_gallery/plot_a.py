"""
A
=
"""
print(1)

"""Fused kernels: one operation, four backends that agree."""

"""Devices: what they promise (interface), the numpy one (reference), and native ones behind abi.h (native)."""

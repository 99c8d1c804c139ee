"""Kernel machines: exponential-power kernels, EigenPro iteration, subbands, learned metric."""

from squall.kernels.bandwidth import Candidate, Search, search_bandwidths
from squall.kernels.eigenpro import EigenProRegressor
from squall.kernels.functions import (
    ExponentialPowerKernel,
    exponential_power,
    median_distance,
    squared_distances,
)
from squall.kernels.plan import Subband
from squall.kernels.subbands import SubbandKernelMachine, split_channels

__all__ = [
    "Candidate",
    "EigenProRegressor",
    "ExponentialPowerKernel",
    "Search",
    "Subband",
    "SubbandKernelMachine",
    "exponential_power",
    "median_distance",
    "search_bandwidths",
    "split_channels",
    "squared_distances",
]

"""`pytest -p kits.pretend_cuda.plugin`: a run of pytest on two pretend devices."""

from kits import pretend_cuda

pretend_cuda.install(devices=2)

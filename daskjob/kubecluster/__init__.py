"""KubeCluster: interactive Dask clusters on Kubernetes."""

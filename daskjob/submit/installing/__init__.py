"""Installs the operator from its Helm chart, without Helm."""

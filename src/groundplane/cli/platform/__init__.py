"""The platform's verbs: up, down, status, kubeconfig, doctor, and each role alone."""

"""`stanzalake check`: diagnoses a deployment, with a remedy for each fault."""

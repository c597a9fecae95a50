"""How good an encoder is: retrieval, STS, classification and clustering, with confidence intervals and paired tests."""

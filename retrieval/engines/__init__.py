"""Search engines: one protocol, exact search, LanceDB and Milvus."""

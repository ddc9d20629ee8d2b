"""The store of a gallery: schema, LanceDB table, versions, disk and maintenance."""

"""Raw images -> image shards -> tile shards -> latent shards, one shard at a time.

WebDataset is written here only. A stage reads: list_source -> inspect_items -> plan -> build_shard -> images_manifest,
then cut_shard -> tiles_manifest, then encode_shard -> latents_manifest; the functions in the middle take small
arguments, do their own store IO and can run anywhere, in any order, any number of times.
"""

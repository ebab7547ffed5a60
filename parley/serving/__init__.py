"""Running published models: two engines behind one interface, and the Triton server itself.

    async with TritonEngine("127.0.0.1:8001") as engine:                 # or OnnxEngine(site.repo_dir, Trust.of(site))
        outputs = await engine.infer("barista_nlu", 1, {"tokens": tokens})

Nothing here imports torch.
"""

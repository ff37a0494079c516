"""Continuity of tubular masks: arrays in, arrays out; no files, no devices, no methods.

`mend.mend` turns probability maps into unbroken masks by diffusion along the tubes, two thresholds and dropping small
pieces; `choose.choose` finds how, on validation maps. `anisotropic.diffuse_tensors` is the diffusion in torch, for
learning and for the GPU.
"""

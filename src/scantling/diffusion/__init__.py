"""Noise processes, schedules and samplers: mathematics only; no networks, no files, no devices.

`schedules.betas` says how fast the noise comes, `gaussian.GaussianProcess` and `bernoulli.BernoulliProcess` what it
does to a mask and how a step is undone, `samplers` walk from noise to a mask along `schedules.timesteps`.

Time steps count from 0, as in the code of all papers: x_t has gone through t + 1 steps of noise, t = T - 1 is the
noisiest state, and t = -1 is clean data.
"""

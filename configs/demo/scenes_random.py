# Control of retrieval: the IC-KD config with random negatives.
_base_ = ['scenes_ickd.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['retriever'] = dict(type='RandomRetriever')

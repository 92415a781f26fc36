# The control of retrieval: the IC-KD config with negatives drawn at random.
_base_ = ['scenes_ickd.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['retriever'] = dict(type='RandomRetriever')

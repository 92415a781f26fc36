# Control of retrieval: NICD alone with random negatives.
_base_ = ['scenes_nicd.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['retriever'] = dict(type='RandomRetriever')

# Control of retrieval: 16 random rows of the whole bank.
_base_ = ['wrong_labels_ickd.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['retriever'] = dict(type='RandomRetriever')

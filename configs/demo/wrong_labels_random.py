# The control of retrieval: 16 rows that are drawn at random from the whole bank.
_base_ = ['wrong_labels_ickd.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['retriever'] = dict(type='RandomRetriever')

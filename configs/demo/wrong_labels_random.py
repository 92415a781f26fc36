# The control of retrieval: the votes of 16 rows that are drawn at random.
_base_ = ['wrong_labels_ickd.py']
custom_hooks = _base_.custom_hooks
custom_hooks[0]['retriever'] = dict(type='RandomRetriever')

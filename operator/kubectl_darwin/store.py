"""A run's store, reached with the credentials of the person who asks: those of the workers stay where they are.

Endpoint and region are those of the manifest, unless the environment names others: the address by which Pods reach an
S3 is often not the one by which people do.
"""

import os

from darwinmerge.errors import BadConfiguration, DarwinError
from darwinmerge.store import Store, open_store
from darwinmerge_operator.resource import DarwinMerge

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def store_of(resource: DarwinMerge) -> Store:
    """The store of a run; looked into once, so that what is missing is said before anything else.

    Raises:
        BadConfiguration: there are no credentials, or they aren't good for it.
        StoreUnreachable: S3 doesn't answer.
    """
    access, uri = resource.spec.cluster.store, resource.spec.store.uri
    if access.endpoint and not any(os.environ.get(name) for name in ENDPOINTS):
        os.environ[ENDPOINTS[0]] = access.endpoint
    region = access.region or ("us-east-1" if access.endpoint else "")
    if region and not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        os.environ["AWS_REGION"] = region
    secret = access.credentials_secret
    workers = f"; the workers' come from the Secret {secret.name}, which is not read" if secret else ""
    try:
        store = open_store(uri)
        store.head("experiment.json")
    except BadConfiguration as error:
        raise BadConfiguration(f"the store is read with S3 credentials of your own: {error}{workers}") from None
    except DarwinError as error:
        where = next((name for name in ENDPOINTS if os.environ.get(name)), "")
        told = f" ({where}={os.environ[where]}; set it to the address by which you reach it)" if where else ""
        raise type(error)(f"{error}{told}") from None
    return store

"""The FAISS vector stores of LangChain, LlamaIndex and others on MetalFaiss, through their own public operations.

Each runs in a process of its own, since ``install_as_faiss`` is for the whole process, and the tests import FAISS.
"""

import importlib.util
import subprocess
import sys
import textwrap

import pytest


def run(code):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


needs_langchain = pytest.mark.skipif(
    importlib.util.find_spec("langchain_community") is None, reason="langchain-community is not installed"
)
needs_llama_index = pytest.mark.skipif(
    importlib.util.find_spec("llama_index") is None
    or importlib.util.find_spec("llama_index.vector_stores") is None
    or importlib.util.find_spec("llama_index.vector_stores.faiss") is None,
    reason="llama-index-vector-stores-faiss is not installed",
)


def test_install():
    assert run(
        """
        import metalfaiss
        metalfaiss.install_as_faiss()
        metalfaiss.install_as_faiss()
        import faiss
        from faiss import IndexFlatL2
        from faiss.contrib.vecs_io import fvecs_read
        assert faiss is metalfaiss and IndexFlatL2 is metalfaiss.IndexFlatL2
        print("ok")
        """
    ).endswith("ok\n")
    assert "FAISS must not have been imported before" in run(
        """
        import faiss, metalfaiss
        try:
            metalfaiss.install_as_faiss()
        except RuntimeError as error:
            print(error)
        """
    )


LANGCHAIN = """
import asyncio, tempfile
import metalfaiss
metalfaiss.install_as_faiss()

import numpy as np
from langchain_community.docstore.in_memory import InMemoryDocstore
from langchain_community.vectorstores import FAISS
from langchain_community.vectorstores.utils import DistanceStrategy
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings


VOCABULARY = "red apple green blue sea deep high hill old ship house new moon".split()


class Words(Embeddings):
    def embed_query(self, text):
        x = np.zeros(16)
        for word in text.split():
            x[VOCABULARY.index(word)] += 1
        return x.tolist()

    def embed_documents(self, texts):
        return [self.embed_query(t) for t in texts]


def ids(found):
    return [d.metadata["n"] for d in found]


words = Words()
texts = ["red apple", "green apple", "blue sea", "deep sea", "high hill"]
metadatas = [{"n": i, "even": i % 2 == 0} for i in range(5)]
store = FAISS.from_texts(texts, words, metadatas=metadatas, ids=list("abcde"))
assert isinstance(store.index, metalfaiss.IndexFlatL2)
assert ids(store.similarity_search("deep sea", k=1)) == [3]
found = store.similarity_search_with_score("red apple", k=2)
assert ids([d for d, _ in found])[0] == 0 and found[0][1] == 0
assert ids(store.similarity_search("sea", k=5, filter={"even": True}, fetch_k=5))[0] == 2
assert ids(store.similarity_search("sea", k=1, filter=lambda m: m["n"] > 2)) == [3]
assert len(store.max_marginal_relevance_search("apple", k=2, fetch_k=4)) == 2
assert ids(store.similarity_search_by_vector(words.embed_query("high hill"), k=1)) == [4]
assert len(store.similarity_search_with_relevance_scores("red apple", k=2, score_threshold=0.1)) >= 1
assert store.add_texts(["old ship"], metadatas=[{"n": 5, "even": False}], ids=["f"]) == ["f"]
assert store.add_documents([Document("old house", metadata={"n": 6, "even": True})], ids=["g"]) == ["g"]
assert ids(store.similarity_search("old house", k=1)) == [6]
assert store.delete(["a", "f"])
assert store.index.ntotal == 5 and ids(store.similarity_search("old ship", k=5)).count(5) == 0
assert ids(store.similarity_search("high hill", k=1)) == [4]
other = FAISS.from_texts(["new moon"], words, metadatas=[{"n": 7}], ids=["h"])
store.merge_from(other)
assert ids(store.similarity_search("new moon", k=1)) == [7]
assert ids(asyncio.run(store.asimilarity_search("new moon", k=1))) == [7]
assert ids(store.as_retriever(search_kwargs={"k": 1}).invoke("deep sea")) == [3]
assert [d.metadata["n"] for d in store.get_by_ids(["d"])] == [3]
assert ids(store.similarity_search("sea", k=5, filter={"n": {"$gt": 2, "$lt": 5}}, fetch_k=9)) == [3, 4]
near = store.similarity_search_with_score("deep sea", k=5, score_threshold=2.5)
assert ids([d for d, _ in near]) == [3, 2] and all(score <= 2.5 for _, score in near)
vector = words.embed_query("sea")
diverse = store.max_marginal_relevance_search_with_score_by_vector(vector, k=2, fetch_k=9, filter={"even": True})
assert len(diverse) == 2 and diverse[0][0].metadata["n"] == 2
retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "fetch_k": 4, "lambda_mult": 0.3})
assert len(retriever.invoke("sea")) == 2
assert store.add_embeddings([("new ship", words.embed_query("new ship"))], metadatas=[{"n": 8}], ids=["i"]) == ["i"]
assert ids(store.similarity_search("new ship", k=1)) == [8]


async def by_await():
    made = await FAISS.afrom_texts(texts, words, metadatas=metadatas, ids=list("abcde"))
    assert await made.aadd_texts(["new house"], metadatas=[{"n": 5}], ids=["f"]) == ["f"]
    found = await asyncio.gather(*[made.asimilarity_search_with_score(text, k=1) for text in texts])
    assert [ids([d for d, _ in one]) for one in found] == [[i] for i in range(5)]
    assert len(await made.amax_marginal_relevance_search("sea", k=2, fetch_k=4)) == 2
    assert await made.adelete(["d"]) and ids(await made.asimilarity_search("deep sea", k=1)) == [2]


asyncio.run(by_await())
assert store.delete(["i"])
again = FAISS.deserialize_from_bytes(
    store.serialize_to_bytes(), words, allow_dangerous_deserialization=True
)
assert ids(again.similarity_search("new moon", k=3)) == ids(store.similarity_search("new moon", k=3))
cosine = FAISS.from_texts(
    texts, words, metadatas=metadatas, distance_strategy=DistanceStrategy.MAX_INNER_PRODUCT, normalize_L2=True
)
assert isinstance(cosine.index, metalfaiss.IndexFlatIP)
assert abs(cosine.similarity_search_with_score("deep sea", k=1)[0][1] - 1) < 1e-5
own = FAISS(words, metalfaiss.index_factory(16, "Flat"), InMemoryDocstore(), {})
own.add_texts(texts, metadatas=metadatas)
assert ids(own.similarity_search("blue sea", k=1)) == [2]
SAVE
print("ok")
"""

LANGCHAIN_FILES = """
with tempfile.TemporaryDirectory() as folder:
    store.save_local(folder)
    read = FAISS.load_local(folder, words, allow_dangerous_deserialization=True)
assert ids(read.similarity_search("high hill", k=3)) == ids(store.similarity_search("high hill", k=3))
"""


LLAMA_INDEX = """
import asyncio, tempfile
import metalfaiss
metalfaiss.install_as_faiss()

import faiss
import numpy as np
from llama_index.core import StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import VectorStoreQuery
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters
from llama_index.vector_stores.faiss import FaissMapVectorStore, FaissVectorStore

rng = np.random.default_rng(0)
vectors = rng.standard_normal((6, 16)).astype(np.float32)


def nodes():
    return [TextNode(text=f"text {i}", id_=f"n{i}", embedding=v.tolist()) for i, v in enumerate(vectors)]


store = FaissVectorStore(faiss_index=faiss.IndexFlatL2(16))
assert store.add(nodes()) == [str(i) for i in range(6)]
found = store.query(VectorStoreQuery(query_embedding=vectors[4].tolist(), similarity_top_k=2))
assert found.ids[0] == "4" and found.similarities[0] == 0
assert store.client is store._faiss_index

mapped = FaissMapVectorStore(faiss_index=faiss.IndexIDMap2(faiss.IndexFlatL2(16)))
mapped.add(nodes())
assert mapped.query(VectorStoreQuery(query_embedding=vectors[4].tolist(), similarity_top_k=1)).ids == ["n4"]
mapped.delete_nodes(["n4"])
assert mapped.query(VectorStoreQuery(query_embedding=vectors[4].tolist(), similarity_top_k=1)).ids != ["n4"]
assert mapped._faiss_index.ntotal == 5

try:
    wanted = MetadataFilters(filters=[MetadataFilter(key="n", value=1)])
    store.query(VectorStoreQuery(query_embedding=vectors[4].tolist(), filters=wanted))
    raise SystemExit("the store took filters, which it has not")
except ValueError as error:
    assert "filters not implemented" in str(error)
query = VectorStoreQuery(query_embedding=vectors[2].tolist(), similarity_top_k=1)
assert asyncio.run(store.aquery(query)).ids == ["2"]
cosine = FaissVectorStore(faiss_index=faiss.index_factory(16, "L2norm,Flat", faiss.METRIC_INNER_PRODUCT))
asyncio.run(cosine.async_add(nodes()))
assert abs(cosine.query(query).similarities[0] - 1) < 1e-5

context = StorageContext.from_defaults(vector_store=FaissVectorStore(faiss_index=faiss.IndexFlatL2(16)))
index = VectorStoreIndex(nodes(), storage_context=context, embed_model=MockEmbedding(16))
assert len(index.as_retriever(similarity_top_k=3).retrieve("text")) == 3
index.insert_nodes([TextNode(text="more", id_="n9", embedding=(vectors[0] * 2).tolist())])
assert context.vector_store.client.ntotal == 7
SAVE
print("ok")
"""

LLAMA_INDEX_FILES = """
with tempfile.TemporaryDirectory() as folder:
    context.persist(folder)
    read = FaissVectorStore.from_persist_dir(folder)
    again = load_index_from_storage(
        StorageContext.from_defaults(vector_store=read, persist_dir=folder), embed_model=MockEmbedding(16)
    )
    assert read.client.ntotal == 7
    assert len(again.as_retriever(similarity_top_k=2).retrieve("text")) == 2
"""


HUGGING_FACE = """
import tempfile
import metalfaiss
metalfaiss.install_as_faiss()

import datasets, faiss
import numpy as np

x = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
data = datasets.Dataset.from_dict({"n": list(range(200)), "x": x.tolist()})
for options in ({}, {"string_factory": "IVF4,Flat", "train_size": 200}, {"custom_index": faiss.IndexFlatL2(16)}):
    data.add_faiss_index("x", **options)
    assert data.get_nearest_examples("x", x[3], k=3)[1]["n"][0] == 3
    assert [found["n"][0] for found in data.get_nearest_examples_batch("x", x[:4], k=2)[1]] == [0, 1, 2, 3]
    with tempfile.TemporaryDirectory() as folder:
        data.save_faiss_index("x", f"{folder}/index.faiss")
        data.drop_index("x")
        data.load_faiss_index("x", f"{folder}/index.faiss")
    assert data.get_nearest_examples("x", x[5], k=1)[1]["n"] == [5]
    data.drop_index("x")
print("ok")
"""

MEM0 = """
import tempfile
import metalfaiss
metalfaiss.install_as_faiss()

import numpy as np
from mem0.vector_stores.faiss import FAISS

x = np.random.default_rng(0).standard_normal((20, 8)).tolist()
with tempfile.TemporaryDirectory() as folder:
    for strategy in ("euclidean", "cosine"):
        make = lambda: FAISS(strategy, path=folder, distance_strategy=strategy, embedding_model_dims=8)
        store = make()
        store.insert(x, [{"user": str(i % 2)} for i in range(20)], [f"v{i}" for i in range(20)])
        assert store.search("", x[3], top_k=2)[0].id == "v3"
        assert {found.payload["user"] for found in store.search("", x[3], top_k=5, filters={"user": "0"})} == {"0"}
        store.update("v3", vector=x[4])
        store.delete("v4")
        assert store.get("v4") is None and make().search("", x[4], top_k=1)[0].id == "v3"
print("ok")
"""

AUTOFAISS = """
import tempfile
import metalfaiss
metalfaiss.install_as_faiss()

import autofaiss, faiss
import numpy as np

x = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
for key, kind in (("Flat", faiss.IndexFlat), ("IVF32,Flat", faiss.IndexIVFFlat)):
    index, found = autofaiss.build_index(x, index_key=key, metric_type="l2", save_on_disk=False, verbose=50)
    assert isinstance(index, kind) and found["nb vectors"] == 3000
    assert (index.search(x[:9], 1)[1][:, 0] == np.arange(9)).all()
print("ok")
"""


@pytest.mark.parametrize(("package", "program"), [("datasets", HUGGING_FACE), ("mem0", MEM0), ("autofaiss", AUTOFAISS)])
def test_other_libraries(package, program):
    """Where they are installed: they are no dependencies of these tests."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    assert run(program).endswith("ok\n")


@needs_langchain
def test_langchain():
    assert run(LANGCHAIN.replace("SAVE", LANGCHAIN_FILES)).endswith("ok\n")


@needs_llama_index
def test_llama_index():
    assert run(LLAMA_INDEX.replace("SAVE", LLAMA_INDEX_FILES)).endswith("ok\n")

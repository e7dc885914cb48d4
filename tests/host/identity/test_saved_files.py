"""Names, numbers and lists of saved identities, whatever others do in the folder meanwhile."""

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import folder_paths
import pytest
import torch

from tests.helpers.guidance_inputs import pictures

FIRST = "identity_00001_.safetensors"


@pytest.fixture
def load(run, job):
    return lambda file, discriminator=None: run(
        "LoadIdentity", discriminator=discriminator or job.discriminator, file=file
    )


@pytest.fixture
def fingerprint(nodes):
    return lambda: nodes["LoadIdentity"].fingerprint_inputs(file=FIRST, discriminator=None)


class TestNames:
    @pytest.mark.parametrize(
        "prefix",
        ["a" * 240, "a" * 300, "ä" * 120, "family/" + "b" * 240, "c" * 240 + "/anna", "x" * 5000],
        ids=["240", "300", "240 bytes", "in a folder", "a folder", "5000"],
    )
    def test_a_name_that_is_too_long_is_said_to_be(self, run, job, identities, prefix):
        with pytest.raises(ValueError, match="too long for a file.*write a shorter one"):
            run("SaveIdentity", identity=job.identity, filename_prefix=prefix)
        assert not list(identities.rglob("*"))

    @pytest.mark.parametrize("prefix", ["an\0na", "anna\n", "an\x1bna", "an\ud800na", "\udfffanna"], ids=ascii)
    def test_letters_that_no_name_has(self, run, job, identities, prefix):
        with pytest.raises(ValueError, match="letters that no file's name can have|halves of characters"):
            run("SaveIdentity", identity=job.identity, filename_prefix=prefix)
        assert not list(identities.rglob("*"))

    @pytest.mark.parametrize(
        "prefix", ["CON/anna", "family/nul.x/anna", "family./anna", "family /anna", "a:b", "C:anna"]
    )
    def test_names_of_devices_on_any_system(self, run, job, identities, prefix):
        with pytest.raises(ValueError, match="Windows"):
            run("SaveIdentity", identity=job.identity, filename_prefix=prefix)
        assert not list(identities.rglob("*"))

    @pytest.mark.parametrize("prefix", ["a" * 200, "Łukasz 2", "家族/安娜", "anna.v2", "a%b", " anna"], ids=ascii)
    def test_all_other_names_are_saved_and_loaded(self, run, job, load, identities, prefix):
        run("SaveIdentity", identity=job.identity, filename_prefix=prefix)
        (path,) = identities.rglob("*.safetensors")
        assert load(path.relative_to(identities).as_posix()).result[0].identity.embeddings.shape == (1, 16)

    @pytest.mark.parametrize("file", ["an\0na", "an\ud800na", "a" * 300, "../" + FIRST, f"/{FIRST}", "", "family", "."])
    def test_a_name_that_is_not_in_the_list_is_not_opened(self, run, nodes, job, load, identities, file):
        (identities / "family").mkdir(parents=True)
        (identities.parent / FIRST).write_bytes(b"outside")
        run("SaveIdentity", identity=job.identity)
        message = f"There is no identity .*Choose one of {FIRST}"
        assert re.match(message, nodes["LoadIdentity"].validate_inputs(file=file), re.DOTALL)
        with pytest.raises(FileNotFoundError, match=message):
            load(file)

    def test_a_place_that_cannot_be_a_folder(self, run, job, identities):
        identities.mkdir()
        (identities / "anna").write_text("a file, not a folder")
        with pytest.raises(ValueError, match="'anna/new' cannot be a file in"):
            run("SaveIdentity", identity=job.identity, filename_prefix="anna/new")


class TestNumbers:
    def test_of_many_who_save_one_name_each_gets_the_next_number(self, pack, job, identities):
        save = pack("nodes.identity.files")._save
        identities.mkdir()
        with ThreadPoolExecutor(8) as pool:
            paths = list(pool.map(lambda _: save(job.identity.identity, identities, "me"), range(24)))
        assert sorted(path.name for path in paths) == [f"me_{i:05}_.safetensors" for i in range(1, 25)]

    def test_a_number_that_another_server_took_meanwhile(self, run, job, identities, monkeypatch):
        run("SaveIdentity", identity=job.identity)
        kept = (identities / FIRST).read_bytes()
        listed = lambda prefix, folder: (folder, "identity", 1, "", prefix)  # noqa: E731  before the other had saved
        monkeypatch.setattr(folder_paths, "get_save_image_path", listed)
        run("SaveIdentity", identity=job.identity)
        assert sorted(path.name for path in identities.iterdir()) == [FIRST, "identity_00002_.safetensors"]
        assert (identities / FIRST).read_bytes() == kept


class TestLists:
    def test_a_file_that_comes_later_is_found_without_a_restart(self, run, job, load, identities):
        load_first = lambda: load(FIRST)  # noqa: E731
        with pytest.raises(FileNotFoundError, match="Save one with Save Identity"):
            load_first()
        run("SaveIdentity", identity=job.identity)
        assert load_first().result[0].identity.embeddings.shape == (1, 16)

    def test_a_list_that_is_older_than_the_files_says_which_there_are(self, run, job, nodes, load, identities):
        (placeholder,) = nodes["LoadIdentity"].INPUT_TYPES()["required"]["file"][1]["options"]
        run("SaveIdentity", identity=job.identity)
        assert nodes["LoadIdentity"].validate_inputs(file=placeholder) is True, "it can only mean the only one"
        run("SaveIdentity", identity=job.identity)
        for message in (nodes["LoadIdentity"].validate_inputs(file=placeholder), None):
            if message is None:
                with pytest.raises(FileNotFoundError) as error:
                    load(placeholder)
                message = str(error.value)
            assert f"Choose one of {FIRST}" in message and "press R" in message

    def test_the_list_is_that_of_the_folder_now(self, run, job, nodes, identities):
        """The host's own is as old as its folders' dates."""
        run("SaveIdentity", identity=job.identity)
        folder_paths.get_filename_list("identities")
        status = identities.stat()
        shutil.copy(identities / FIRST, identities / "another.safetensors")
        os.utime(identities, ns=(status.st_atime_ns, status.st_mtime_ns))
        options = nodes["LoadIdentity"].INPUT_TYPES()["required"]["file"][1]["options"]
        assert options == ["another.safetensors", FIRST]

    def test_a_link_to_nowhere_is_missing(self, load, identities):
        identities.mkdir()
        (identities / FIRST).symlink_to(identities / "gone")
        with pytest.raises(FileNotFoundError, match="There is no identity"):
            load(FIRST)


class TestCache:
    @pytest.fixture
    def two(self, run, encode, identities):
        """Two identities as files of one size."""
        for seed, name in ((0, "a"), (1, "b")):
            run("SaveIdentity", identity=encode(pictures(seed=seed)).result[0], filename_prefix=name)
        a, b = (identities / f"{name}_00001_.safetensors" for name in "ab")
        assert a.stat().st_size == b.stat().st_size
        return a, b

    def test_a_file_replaced_under_the_same_date_is_loaded_anew(self, two, fingerprint, identities):
        shutil.copy(two[0], identities / FIRST)
        os.utime(identities / FIRST, ns=(10**18, 10**18))
        before = fingerprint()
        assert fingerprint() == before
        with (identities / FIRST).open("r+b") as file:  # in place: not even the inode changes
            file.write(two[1].read_bytes())
        os.utime(identities / FIRST, ns=(10**18, 10**18))
        assert fingerprint() != before

    def test_a_link_that_points_elsewhere_is_loaded_anew(self, two, fingerprint, identities):
        for path in two:
            os.utime(path, ns=(10**18, 10**18))
        (identities / FIRST).symlink_to(two[0])
        before = fingerprint()
        (identities / FIRST).unlink()
        (identities / FIRST).symlink_to(two[1])
        assert fingerprint() != before


class TestRefused:
    def test_other_settings_of_the_same_recogniser(self, run, job, pack, parts, load, identities):
        run("SaveIdentity", identity=job.identity)
        loader = pack("nodes.host.networks.discriminators").load_discriminator
        other = loader(parts.recogniser, mean=0.0, channel_order="bgr", box=(0.1, 0.1, 0.9, 0.9))
        with pytest.raises(ValueError, match="other settings: 32 x 32 pixels, rgb, mean 0.5.*has 32 x 32 pixels, bgr"):
            load(FIRST, other)
        assert load(FIRST, loader(parts.recogniser)).result[0].identity.embeddings.shape == (1, 16)

    def test_a_recogniser_of_nan_makes_no_identity(self, encode, job, monkeypatch):
        monkeypatch.setattr(job.discriminator._discriminator, "mean", torch.tensor(torch.nan))
        with pytest.raises(FloatingPointError, match="recogniser makes nan"):
            encode(pictures())

    @pytest.mark.parametrize("weights", ["1e30, 5e29", "1e-30, 5e-31", "1e300, 5e299"])
    def test_weights_of_any_size_mean_their_ratio(self, encode, weights):
        plain, scaled = (encode(pictures(2), weights=each).result[0].identity for each in ("1, 0.5", weights))
        torch.testing.assert_close(scaled.embedding, plain.embedding)

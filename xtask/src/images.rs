//! Images without a registry: a Debian base, a `Containerfile` each, archives in the cache, loaded into the node.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cache::{Key, Shelf};
use crate::cluster::Cluster;
use crate::progress::{Progress, Step};
use crate::run::Run;
use crate::settings::Settings;
use crate::tools::{Tool, Tools, debian_root};

/// Raised when the steps below change.
const RECIPE: &str = "2";
/// Archives of one image kept in the cache: the running one and those before it.
const ARCHIVES_KEPT: usize = 3;

/// An image that the cluster runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Image {
    /// Holds a pod's namespaces.
    Pause,
    /// The name service.
    CoreDns,
    /// The Gateway API controller.
    EnvoyGateway,
    /// The proxy.
    Envoy,
    /// The metrics store.
    Prometheus,
    /// The broker.
    Kafka,
    /// The Ingress controller.
    Traefik,
    /// Our operator.
    Operator,
    /// Our inference server.
    Inference,
    /// Our trainer.
    Trainer,
    /// Our simulator.
    Simulator,
}

/// Where an image's content comes from.
#[derive(Clone, Copy)]
enum Content {
    /// One of `tools/`: its program, or the folder named.
    Tool(Tool, &'static str),
    /// A binary of this workspace: package and program have the same name.
    Own(&'static str),
}

/// What an image stands on.
#[derive(Clone, Copy)]
enum Base {
    /// Nothing: the program is static.
    Scratch,
    /// A root file system made of `images/<name>/packages`.
    Debian(&'static str),
}

impl Image {
    /// What the stack of the demo runs beside our own programs.
    pub(crate) const STACK: [Self; 4] = [Self::EnvoyGateway, Self::Envoy, Self::Prometheus, Self::Kafka];
    /// Our own programs.
    pub(crate) const OWN: [Self; 4] = [Self::Operator, Self::Inference, Self::Trainer, Self::Simulator];

    /// Name of the image, without tag.
    pub(crate) const fn name(self) -> &'static str {
        match self.content() {
            Content::Tool(tool, _) => tool.name(),
            Content::Own(binary) => binary,
        }
    }

    const fn content(self) -> Content {
        match self {
            Self::Pause => Content::Tool(Tool::Pause, "pause"),
            Self::CoreDns => Content::Tool(Tool::CoreDns, "coredns"),
            Self::EnvoyGateway => Content::Tool(Tool::EnvoyGateway, "envoy-gateway"),
            Self::Envoy => Content::Tool(Tool::Envoy, "envoy"),
            Self::Prometheus => Content::Tool(Tool::Prometheus, "prometheus"),
            Self::Kafka => Content::Tool(Tool::Kafka, "libs"),
            Self::Traefik => Content::Tool(Tool::Traefik, "traefik"),
            Self::Operator => Content::Own("serin-operator"),
            Self::Inference => Content::Own("serin-inference"),
            Self::Trainer => Content::Own("serin-trainer"),
            Self::Simulator => Content::Own("serin-simulator"),
        }
    }

    const fn base(self) -> Base {
        match self {
            Self::Pause | Self::CoreDns => Base::Scratch,
            Self::Kafka => Base::Debian("jre"),
            Self::EnvoyGateway
            | Self::Envoy
            | Self::Prometheus
            | Self::Traefik
            | Self::Operator
            | Self::Inference
            | Self::Trainer
            | Self::Simulator => Base::Debian("base"),
        }
    }
}

/// An image in the cache.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// Full name with a tag that changes with the content.
    pub(crate) reference: String,
    /// The archive, as `docker load` and `ctr images import` take it.
    pub(crate) archive: PathBuf,
}

/// The images of one checkout.
pub(crate) struct Images<'a> {
    settings: &'a Settings,
    progress: &'a Progress,
    shelf: Shelf,
    tools: Tools<'a>,
}

/// Builds `images` and gives the node those it does not have. Returns their references, in the same order.
pub(crate) fn build_and_load(
    settings: &Settings,
    progress: &Progress,
    cluster: &Cluster,
    images: &[Image],
) -> Result<Vec<String>> {
    let builder = Images::new(settings, progress);
    if images
        .iter()
        .any(|image| matches!(image.content(), Content::Own(_)))
    {
        builder.compile()?;
    }
    let built = images
        .iter()
        .map(|image| builder.build(*image))
        .collect::<Result<Vec<_>>>()?;
    let present = cluster.images()?;
    for image in &built {
        if !present.contains(&image.reference) {
            let step = progress.step(format!("load {}", image.reference));
            cluster.load(&image.archive)?;
            step.done();
        }
    }
    Ok(built.into_iter().map(|image| image.reference).collect())
}

impl<'a> Images<'a> {
    /// The images of this checkout. Nothing is built yet.
    pub(crate) fn new(settings: &'a Settings, progress: &'a Progress) -> Self {
        let (shelf, tools) = (Shelf::new(settings, "images"), Tools::new(settings, progress));
        Self {
            settings,
            progress,
            shelf,
            tools,
        }
    }

    /// Compiles our own programs: one call, so that cargo shares the work.
    pub(crate) fn compile(&self) -> Result<()> {
        let step = self.progress.step("compile serin");
        let packages = Image::OWN.iter().flat_map(|image| ["--package", image.name()]);
        Run::cargo()
            .args(["build", "--release", "--locked"])
            .args(packages)
            .env("CARGO_TARGET_DIR", self.settings.cargo_target())
            .within(self.settings.checkout())
            .follow(&step)?;
        step.done();
        Ok(())
    }

    /// The image, built now if need be. Our own programs must have been compiled.
    pub(crate) fn build(&self, image: Image) -> Result<Built> {
        let (source, mut key) = self.content(image)?;
        let containerfile = self.containerfile(image);
        key = key.text(RECIPE).files(&containerfile)?;
        if let Base::Debian(base) = image.base() {
            key = key.text(&self.base_key(base)?.short());
        }
        let reference = format!("localhost/{}:{}", image.name(), key.short());
        let path = self.shelf.entry(image.name(), &key, self.progress, |out| {
            let step = self.progress.step(format!("build the image {reference}"));
            let mut arguments = Vec::new();
            if let Base::Debian(base) = image.base() {
                arguments.push(format!("BASE={}", self.base(base, &step)?));
            }
            if let Content::Own(binary) = image.content() {
                arguments.push(format!("BINARY={binary}"));
            }
            let context = context(out, &source)?;
            self.bud(&containerfile, &context, &arguments, &reference, &step)?;
            let archive = format!("docker-archive:{}:{reference}", out.join("image.tar").display());
            self.buildah("push")
                .args(["--format", "v2s2", &reference, &archive])
                .follow(&step)?;
            self.buildah("rmi").arg(&reference).follow(&step)?;
            crate::cache::remove(&context)?;
            step.done();
            Ok(())
        })?;
        self.shelf.prune(image.name(), ARCHIVES_KEPT)?;
        Ok(Built {
            reference,
            archive: path.join("image.tar"),
        })
    }

    fn content(&self, image: Image) -> Result<(PathBuf, Key)> {
        match image.content() {
            Content::Tool(tool, member) => {
                Ok((self.tools.directory(tool)?.join(member), self.tools.key(tool)?))
            }
            Content::Own(binary) => {
                let program = self.settings.cargo_target().join("release").join(binary);
                let key = Key::default().files(&program)?;
                Ok((program, key))
            }
        }
    }

    fn containerfile(&self, image: Image) -> PathBuf {
        let images = self.settings.checkout().join("images");
        match image.content() {
            Content::Tool(tool, _) => images.join(tool.name()).join("Containerfile"),
            Content::Own(_) => images.join("Containerfile"),
        }
    }

    fn base_key(&self, name: &str) -> Result<Key> {
        Key::of_recipe(RECIPE).files(&self.settings.checkout().join("images").join(name))
    }

    /// A base image in buildah's store, made of Debian packages if it is not there.
    fn base(&self, name: &str, step: &Step) -> Result<String> {
        let key = self.base_key(name)?;
        let reference = format!("localhost/serin-{name}:{}", key.short());
        if self
            .buildah("inspect")
            .args(["--type", "image", &reference])
            .succeeds()
        {
            return Ok(reference);
        }
        let folder = self.settings.checkout().join("images").join(name);
        let root = self.shelf.entry(name, &key, self.progress, |out| {
            debian_root(&folder.join("packages"), &out.join("root.tar"), step)
        })?;
        self.bud(&folder.join("Containerfile"), &root, &[], &reference, step)?;
        Ok(reference)
    }

    fn bud(
        &self,
        file: &Path,
        context: &Path,
        arguments: &[String],
        reference: &str,
        step: &Step,
    ) -> Result<()> {
        let arguments = arguments.iter().flat_map(|argument| ["--build-arg", argument]);
        self.buildah("bud")
            // chroot: no namespaces are needed for a file that only copies, and a sandbox may not grant them.
            .args(["--isolation", "chroot", "--timestamp", "0", "--file"])
            .arg(file)
            .args(arguments)
            .args(["--tag", reference])
            .arg(context)
            .follow(step)
    }

    /// A buildah command on a store of our own, kept in the cache for its base images.
    fn buildah(&self, verb: &str) -> Run {
        let store = self.settings.cache().join("buildah");
        Run::new("buildah")
            .arg("--root")
            .arg(store.join("root"))
            .arg("--runroot")
            .arg(store.join("run"))
            .args(["--storage-driver", "vfs", verb])
    }
}

/// A build context that holds one program or folder: the Containerfile names it.
fn context(out: &Path, source: &Path) -> Result<PathBuf> {
    let context = out.join("context");
    fs::create_dir(&context).with_context(|| format!("cannot create {}", context.display()))?;
    Run::new("cp")
        .args(["-r", "--reflink=auto"])
        .arg(source)
        .arg(&context)
        .output()?;
    Ok(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_has_a_name_of_its_own() {
        let mut names: Vec<_> = Image::STACK
            .iter()
            .chain(&Image::OWN)
            .chain(&[Image::Pause, Image::CoreDns, Image::Traefik])
            .map(|image| image.name())
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 11);
    }
}

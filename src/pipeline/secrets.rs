//! The apps' secrets, as people set them and as rollouts hand them on.

use super::{Pipeline, PipelineError};
use crate::model::secret::{SecretList, SecretView};
use crate::model::{AppName, CredentialName, Secret};
use crate::store::LONGEST_SECRET;

impl Pipeline {
    /// Keeps a secret of an app; whether one was replaced.
    pub async fn set_secret(&self, app: &AppName, name: CredentialName, secret: Secret) -> Result<bool, PipelineError> {
        self.inner.app(app).ok_or_else(|| self.no_such_app(app))?;
        if secret.is_empty() || secret.len() > LONGEST_SECRET {
            let why = format!("a secret holds 1 to {LONGEST_SECRET} bytes, and this one {}", secret.len());
            return Err(PipelineError::Senseless(why));
        }
        let replaced = self.inner.store.put_secret(app, (name.clone(), secret)).await?;
        tracing::info!(%app, secret = %name, replaced, "a secret was set");
        Ok(replaced)
    }

    /// Forgets a secret; whether there was one. Its hosts let go of it at the app's next rollout.
    pub async fn remove_secret(&self, app: &AppName, name: CredentialName) -> Result<bool, PipelineError> {
        let was = self.inner.store.remove_secret(app, name.clone()).await?;
        tracing::info!(%app, secret = %name, was, "a secret was removed");
        Ok(was)
    }

    /// The names of an app's secrets: those that are set, and those that its unit wants.
    pub fn secrets(&self, app: &AppName) -> Result<SecretList, PipelineError> {
        let entry = self.inner.app(app).ok_or_else(|| self.no_such_app(app))?;
        let wanted = entry.service.map(|service| service.secrets).unwrap_or_default();
        let set = self.inner.store.secrets(app)?;
        let mut secrets: Vec<SecretView> = set
            .into_iter()
            .map(|head| SecretView { used: wanted.contains(&head.name), name: head.name, set_at: Some(head.at) })
            .collect();
        for name in wanted {
            if !secrets.iter().any(|secret| secret.name == name) {
                secrets.push(SecretView { name, set_at: None, used: true });
            }
        }
        Ok(SecretList { secrets, next: None })
    }
}

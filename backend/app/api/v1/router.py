"""All routes of version 1."""

from fastapi import APIRouter

from app.api.v1 import admin, api_keys, auth, health, images, recipes, tasks, uploads, usage, users, webhooks

router = APIRouter(prefix="/api/v1")
router.include_router(auth.router)
router.include_router(api_keys.router)
router.include_router(uploads.router)
router.include_router(tasks.router)
router.include_router(images.router)
router.include_router(recipes.router)
router.include_router(webhooks.router)
router.include_router(usage.router)
router.include_router(admin.router)
router.include_router(users.router)
router.include_router(health.health_router)

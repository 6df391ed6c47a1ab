"""The networks: timm's ViT with a mask token, the projection head, and the teacher-student pair."""
